"""What of the environment does not reach uvicorn."""

import pytest

from app.server.running import uvicorn_config


@pytest.mark.parametrize("value", ["", "7"])
def test_the_number_of_workers_is_the_supervisors_business(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", value)
    assert uvicorn_config("app:create_app", log_config=None).workers == 1
