"""Which prefix of a host takes a path, and what it inherits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.frontends.site import can_match, host_of, inherited, prefix_of, site_of

PREFIXES = ["/api", "/api/v2", "/a%2Fb", "/a//b", "/a/../b", "/t/", "/user/anna@x.org"]
SITE = site_of("a.org", PREFIXES, listed=True)


@pytest.mark.parametrize(
    ("target", "taken_by"),
    [
        (b"/api", ["/api"]),
        (b"/api/", ["/api"]),
        (b"/api/x", ["/api"]),
        (b"/api?x", ["/api"]),
        (b"/api?/v2", ["/api"]),
        (b"/api/v2", ["/api/v2", "/api"]),
        (b"/api/v2/x/y/z?q", ["/api/v2", "/api"]),
        (b"/api/v2x", ["/api"]),
        (b"/api//v2", ["/api"]),
        (b"/apix", []),
        (b"/API", []),
        (b"/", []),
        (b"*", []),
        (b"//api", []),
        (b"/x/../api", []),
        (b"/%61pi", []),
        (b"/a%2Fb/c", ["/a%2Fb"]),
        (b"/a%2fb", []),
        (b"/a/b", []),
        (b"/a//b/c", ["/a//b"]),
        (b"/a/../b", ["/a/../b"]),
        (b"/b", []),
        (b"/t/x", []),
        (b"/t/", ["/t/"]),
        (b"/t//x", ["/t/"]),
        (b"/user/anna@x.org/tree", ["/user/anna@x.org"]),
        (b"/" * 8000, []),
        (b"/api" + b"/x" * 4000, ["/api"]),
    ],
)
def test_the_longest_prefix_on_a_segment_boundary_takes_a_path(target, taken_by):
    assert SITE.keys_for(target) == [f"a.org{prefix}" for prefix in taken_by]


pieces = st.lists(st.sampled_from(["", "a", "b", "ab", "%2F", ".."]), min_size=1, max_size=4)
paths = pieces.map(lambda found: "/" + "/".join(found))


@given(st.sets(paths, min_size=1), paths, st.sampled_from(["", "?", "?/a/b"]))
def test_it_is_what_a_look_at_every_prefix_finds(prefixes, path, query):
    taking = [each for each in prefixes if path == each or path.startswith(f"{each}/")]
    expected = [f"a.org{each}" for each in sorted(taking, key=len, reverse=True)]
    site = site_of("a.org", prefixes, listed=False)
    assert site.keys_for((path + query).encode()) == expected


def test_what_has_no_slash_in_front_is_no_prefix():
    assert site_of("a.org", ["api", ""], listed=True) is None
    assert site_of("a.org", ["api", "/x"], listed=True) == site_of("a.org", ["/x"], listed=True)


@pytest.mark.parametrize("key", ["a.org", "*.a.org", "*", "[::1]"])
@pytest.mark.parametrize("prefix", ["", "/x", "/x/*.y"])
def test_a_key_is_a_host_and_a_prefix(key, prefix):
    assert (host_of(key + prefix), prefix_of(key + prefix)) == (key, prefix)


@pytest.mark.parametrize("prefix", ["", "api", "/", "/api/", "/a b", "/a?b", "/a#b", "/ä", "/a\n"])
def test_such_a_prefix_matches_no_path(prefix):
    assert not can_match(prefix)


def test_a_prefix_inherits_field_by_field():
    of_host = {"basicAuth": "a:$x", "policy": "hash", "hash": "client"}
    assert inherited({"policy": "random"}, of_host, []) == of_host | {"policy": "random"}
    assert inherited({"policy": "random"}, {}, []) == {"policy": "random"}


def test_it_inherits_what_is_said_of_its_own_backends_only():
    of_host = {"weight:http://a": "2", "drain:http://b": "on"}
    assert inherited({}, of_host, [" http://a\n"]) == {"weight:http://a": "2"}
