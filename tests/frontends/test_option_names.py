"""Which option a misspelt name means, and that a misspelt access option closes the frontend."""

from __future__ import annotations

import doctest

import pytest

from app.frontends import option_names
from app.frontends.option_names import ACCESS, LIMITS, OF_ALL, OF_ONE, decides_access, meant_by
from app.frontends.options import Options
from app.frontends.settings import settings_of


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(option_names).failed == 0


@pytest.mark.parametrize("name", [*ACCESS, *LIMITS, *OF_ALL, *OF_ONE])
def test_every_name_means_itself_and_is_read(name: str) -> None:
    assert meant_by(name) == name
    written = f"{name}:http://a" if name in OF_ONE else name
    assert not any("no option" in told for told in settings_of({written: "1"}).problems)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Allow", "allow"), ("al-low", "allow"), ("allows", "allow"), ("alow", "allow"),
        ("allowed", "allow"), ("aIlow", "allow"), ("allowList", "allow"), ("ip_allow", "allow"),
        ("allow:10.0.0.0/8", "allow"), ("allow=10.0.0.0/8", "allow"), ("al\u200blow", "allow"),
        ("\uff41\uff4c\uff4c\uff4f\uff57", "allow"), ("\u0430llow", "allow"),
        ("denny", "deny"), ("deny.", "deny"), ("denied", "deny"), ("dney", "deny"),
        ("basic_auth", "basicAuth"), ("basicAuths", "basicAuth"), ("basicAuht", "basicAuth"),
        ("authBasic", "basicAuth"), ("basic", "basicAuth"), ("auth", "basicAuth"),
        ("forwadAuth", "forwardAuth"), ("forwardAuthURL", "forwardAuth"),
        ("auth-url", "basicAuth"), ("forwardAuthCopies", "forwardAuthCopy"),
        ("forwardAuthTimeOuts", "forwardAuthTimeout"), ("ForwardAuthCopy ", "forwardAuthCopy"),
    ],
)  # fmt: skip
def test_a_name_that_is_nearly_an_access_option_closes(name: str, meant: str) -> None:
    settings = settings_of({name: "10.0.0.0/8"})
    protection = settings.over(Options()).protection
    assert decides_access(name)
    assert protection is not None
    assert protection.unreadable == f"{name!r} is no option (did you mean {meant}?)"
    assert protection.unreadable_option == meant
    assert settings.problems == (f"{protection.unreadable}; nobody may enter",)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("polcy", " (did you mean policy?)"), ("ratelimit", " (did you mean rateLimit?)"),
        ("redirekt", " (did you mean redirect?)"), ("drian:http://a", " (did you mean drain:URL?)"),
        ("weight", " (did you mean weight:URL?)"), ("owner", ""), ("", ""), ("x" * 10_000, ""),
    ],
)  # fmt: skip
def test_a_name_of_another_kind_closes_nothing(name: str, told: str) -> None:
    settings = settings_of({name: "1"})
    assert settings.over(Options()) == Options()
    assert settings.problems == (f"{name!r} is no option{told}",)
