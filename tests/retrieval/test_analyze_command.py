"""`limiar analyze`, as a person runs it."""

from __future__ import annotations

import io

import pytest

from limiar.cli import main


@pytest.mark.parametrize(
    ("arguments", "terms"),
    [
        (["As licitações da Lei nº 8.666/93, art. 37, § 6º"], ["licit", "lei", "8666", "8666/1993", "art.37", "§6"]),
        (["the running services", "--language", "en"], ["run", "servic"]),
        (["de a o"], []),
    ],
)
def test_one_term_a_line(arguments, terms, capsys) -> None:
    assert main(["analyze", *arguments]) == 0
    assert capsys.readouterr().out.split("\n")[:-1] == terms


def test_standard_input(capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("pregões\neletrônicos"))
    assert main(["analyze", "-"]) == 0
    assert capsys.readouterr().out.split() == ["prego", "eletron"]


def test_an_unknown_language(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["analyze", "text", "--language", "xx"])
    assert "invalid choice: 'xx'" in capsys.readouterr().err
