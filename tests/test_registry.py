import subprocess
import sys
from fractions import Fraction

import pytest

from restyle_cli.errors import RestyleError
from restyle_cli.registry import Registry

NUMBERS = Registry("number", {"fraction": "fractions:Fraction", "decimal": "decimal:Decimal"})


def test_names_are_in_the_order_of_the_table():
    assert NUMBERS.names() == ["fraction", "decimal"]
    assert "decimal" in NUMBERS
    assert "complex" not in NUMBERS


def test_load_gives_the_object_itself():
    assert NUMBERS.load("fraction") is Fraction


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(RestyleError, match="no number named 'fractoin'") as caught:
        NUMBERS.load("fractoin")
    assert caught.value.hint == "did you mean 'fraction'?"


def test_an_unknown_name_near_none_is_answered_with_all():
    with pytest.raises(RestyleError) as caught:
        NUMBERS.load("xyz")
    assert caught.value.hint == "available: fraction, decimal"


def test_listing_imports_nothing():
    code = (
        "import sys; from restyle_cli.registry import Registry; "
        "colours = Registry('colour', {'hsv': 'colorsys:rgb_to_hsv'}); "
        "colours.names(); assert 'colorsys' not in sys.modules; "
        "colours.load('hsv'); assert 'colorsys' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
