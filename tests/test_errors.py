import pickle

import pytest

from restyle_cli.errors import RestyleError, UsageError, did_you_mean


def test_an_error_carries_message_hint_and_status():
    error = RestyleError("no face found", "pass --align never")
    assert (str(error), error.message, error.hint) == ("no face found", "no face found", "pass --align never")
    assert RestyleError("no face found").hint is None
    assert (RestyleError.exit_status, UsageError.exit_status) == (1, 2)


def test_an_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(UsageError("wrong", "do right")))
    assert (type(error), error.message, error.hint) == (UsageError, "wrong", "do right")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("restyle-psp-fhq", "restyle-psp-ffhq"), ("E4E-FFHQ", "e4e-ffhq"), ("toonify", None)],
)
def test_did_you_mean(name, meant):
    expected = f"did you mean '{meant}'?" if meant else None
    assert did_you_mean(name, ["restyle-psp-ffhq", "e4e-ffhq"]) == expected
