"""Any text as `config.json`: a configuration or one line of ConfigError, nothing else.

What it gave can be shown, and read again to the same.
"""

from __future__ import annotations

import json
import os

from app.config.legacy import OLD_NAMES
from app.config.structs import Config, parse, render
from app.errors import ConfigError
from tests.fuzz.world import Finding

_DEFAULTS = json.loads(render(Config()))
_PARTS = [{name: part} for name, part in _DEFAULTS.items()]
SEEDS = [json.dumps(each).encode() for each in (_DEFAULTS, *_PARTS)]
SEEDS += [
    b'{"server": {"accessLogFormat": "{client} {status}", "trustedProxies": ["10.0.0.0/8"]}}',
    b'{"http": {"port": 80, "bind": ["127.0.0.1", "::1"]}, "driver": ["redis://a", "redis://b"]}',
    b'{"https": {"port": 443, "bind": ["::"], "key": "a", "cert": "b", "passphrase": "s3cret"}}',
    b'{"redisHost": "h", "redisPort": 1, "redisPassword": "s3cret", "redisDatabase": 2}',
    b'{"server": {"workers": 4, "lruCache": {"size": 1, "ttl": 2}, "deadBackendOn500": false}}',
    b'{"healthCheck": {"path": "/", "interval": 1}, "user": 33, "memory": {"limit": 1e3}}',
]
TOKENS = [json.dumps(name).encode() for path in OLD_NAMES for name in path.split(".")]
TOKENS += [json.dumps(name).encode() for part in _PARTS for each in part.values()
           if isinstance(each, dict) for name in each]  # fmt: skip
TOKENS += [
    b"null", b"true", b"1e999", b"-1", b"[]", b"{}", b'""', b'"redis://:s3cret@h/0#p"', b"NaN",
    b'"http://[::1"', b'"\\u0000"', b'"\\ud800"', b"99999999999999999999", b"[[[[[[",
]  # fmt: skip


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")  # a file that is not UTF-8 never gets here
    try:
        config = parse(text, environ={"PORT": os.fsdecode(data[:8])} if data[:1].isdigit() else {})
    except ConfigError as exc:
        said = str(exc)
        if not said.isprintable():
            raise Finding(f"not one printable line: {said!r}") from None
    else:
        said = render(config)
        if "s3cret" not in said and "*" not in said and render(parse(said)) != said:
            raise Finding(f"shown as {said}, which is read as {render(parse(said))}")
