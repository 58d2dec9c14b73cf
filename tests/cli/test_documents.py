"""Documents from files of each format."""

from __future__ import annotations

import csv
import json
import os
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest

from limiar import IndexDocument, InputError
from limiar.cli.documents.bad_lines import BadLines
from limiar.cli.documents.columns import Columns
from limiar.cli.documents.reader import DocumentReader, ReadOptions
from limiar.cli.documents.sources import find_sources
from limiar.errors import ConfigurationError


def read(*paths: str | Path, **options: object) -> list[IndexDocument]:
    return list(reader(*paths, **options))  # type: ignore[arg-type]


def reader(*paths: str | Path, skip: bool = False, kind: str | None = None, **options: object) -> DocumentReader:
    sources = find_sources([str(path) for path in paths], format=kind)
    return DocumentReader(sources, ReadOptions(**options), BadLines(skip=skip))  # type: ignore[arg-type]


def wrote(name: str, content: str | bytes) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(*paths: str | Path, **options: object) -> str:
    with pytest.raises(InputError) as raised:
        read(*paths, **options)
    return str(raised.value)


# JSON lines


def test_a_beir_corpus_as_it_is() -> None:
    wrote("corpus.jsonl", '{"_id": "7", "title": "Pregão", "text": "Bens comuns.", "metadata": {"year": 2021}}\n')
    assert read("corpus.jsonl") == [IndexDocument("7", {"title": "Pregão", "text": "Bens comuns."}, {"year": 2021})]


def test_columns_that_are_named() -> None:
    row = {"código": 12, "ementa": "Da dispensa", "caput": "Art. 75", "inciso": "I", "ano": "2021", "órgão": "SLTI"}
    wrote("leis.jsonl", json.dumps(row))
    columns = Columns("código", "ementa", ("caput", "inciso"), ("ano",), frozenset({"ano"}))
    expected = IndexDocument("12", {"title": "Da dispensa", "text": "Art. 75\n\nI"}, {"ano": 2021})
    assert read("leis.jsonl", columns=columns) == [expected]


@pytest.mark.parametrize("column", ["text", "page_content", "content"])
def test_the_columns_that_texts_are_looked_for_in(column: str) -> None:
    wrote("a.jsonl", json.dumps({"id": "x", column: "texto", "page": 3}))
    assert read("a.jsonl") == [IndexDocument("x", {"text": "texto"}, {"page": 3})]


def test_metadata_of_any_kind_of_json() -> None:
    values = '{"a": null, "b": true, "c": [1, "x"], "d": {"e": [1, [2]]}, "f": 1.5, "g": -9223372036854775808}'
    wrote("a.jsonl", f'{{"id": "1", "text": "t", "metadata": {values}}}')
    assert dict(read("a.jsonl")[0].metadata) == json.loads(values)


def test_metadata_that_an_index_cannot_hold_as_it_is() -> None:
    wrote("a.jsonl", '{"id": "1", "text": "t", "a": [[1], [2]], "b": NaN, "c": 1e999, "d": 99999999999999999999}')
    assert dict(read("a.jsonl")[0].metadata) == {"a": "[[1], [2]]", "b": None, "c": "1e999", "d": "9" * 20}


def test_the_place_is_the_id_of_rows_without_one() -> None:
    wrote("d/a.jsonl", '{"text": "um"}\n\n{"text": "dois", "id": null}\n{"text": "três", "id": ""}\n')
    assert [document.id for document in read("d")] == ["d/a.jsonl:1", "d/a.jsonl:3", "d/a.jsonl:4"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_endings_blank_lines_and_a_byte_order_mark(ending: str) -> None:
    lines = ['{"id": "1", "text": "á"}', "", "   ", '{"id": "2", "text": "b"}', ""]
    wrote("a.jsonl", b"\xef\xbb\xbf" + ending.join(lines).encode())
    assert [(it.id, it.fields["text"]) for it in read("a.jsonl")] == [("1", "á"), ("2", "b")]


@pytest.mark.parametrize("content", ["", "\n\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.txt", "a.md"])
def test_a_file_with_nothing_in_it(name: str, content: str | bytes) -> None:
    wrote(name, content)
    assert read(name) == []


def test_a_line_of_megabytes() -> None:
    text = "licitação " * 300_000
    wrote("a.jsonl", json.dumps({"id": "1", "text": text}))
    assert read("a.jsonl")[0].fields["text"] == text


def test_lone_surrogates_are_text_and_no_ids() -> None:
    wrote("a.jsonl", '{"id": "1", "text": "a \\ud83d b"}\n{"id": "\\ud83d", "text": "c"}\n')
    documents = iter(reader("a.jsonl"))
    assert next(documents).fields["text"] == "a \ud83d b"
    with pytest.raises(InputError, match=r"the id of a\.jsonl:2 holds a lone surrogate"):
        next(documents)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "segredo"', "a.jsonl:2 is no JSON (Expecting ',' delimiter, column"),
        ("[" * 100_000, "a.jsonl:2 is no JSON (nested too deeply); expected one object a line"),
        ('["segredo"]', "a.jsonl:2 is a JSON list; expected one object a line"),
        ('{"id": "1", "texto": "segredo"}', "name the one to use with --text: 'id', 'texto'"),
        ('{"id": ["segredo"], "text": "t"}', "column 'id' of a.jsonl:2 is an array; expected an id"),
        ('{"id": true, "text": "t"}', "column 'id' of a.jsonl:2 is a boolean; expected an id"),
        ('{"id": "1", "text": {"pt": "segredo"}}', "column 'text' of a.jsonl:2 is an object; expected text"),
        ('{"id": "1", "text": "t", "title": 3}', "column 'title' of a.jsonl:2 is a number; expected text"),
        ('{"id": "1", "text": "t", "a\\u0000b": 3}', "a metadata key of a.jsonl:2 holds a NUL"),
        (b'{"id": "1", "text": "segredo \xe7\xe3o"}', "a.jsonl:2 is not valid in this encoding; name the one"),
        (b'{"id": "1", "text": "\xed\xa0\x80"}', "a.jsonl:2 is not valid in this encoding; name the one"),
    ],
)
def test_a_bad_line_is_an_error_with_its_number_or_is_counted(line: str | bytes, message: str) -> None:
    good = b'{"id": "%d", "text": "t"}'
    wrote("a.jsonl", b"\n".join([good % 1, line if isinstance(line, bytes) else line.encode(), good % 3]))
    error = refused("a.jsonl")
    assert message in error
    assert "segredo" not in error
    reading = reader("a.jsonl", skip=True)
    assert [document.id for document in reading] == ["1", "3"]
    assert reading.bad.count == 1


@pytest.mark.parametrize(
    "columns", [Columns(id="nr"), Columns(title="nr"), Columns(text=("nr",)), Columns(metadata=("nr",))]
)
def test_a_named_column_that_is_missing(columns: Columns) -> None:
    wrote("a.jsonl", '{"id": "1", "nr": "1", "text": "a"}\n{"id": "2", "text": "b"}\n')
    assert refused("a.jsonl", columns=columns) == "a.jsonl:2 has no column 'nr'; its columns are: 'id', 'text'"


def test_many_columns_do_not_fill_the_screen() -> None:
    wrote("a.jsonl", json.dumps({f"{place}{'x' * 1000}": "v" for place in range(50)}))
    error = refused("a.jsonl")
    assert "and 30 more" in error
    assert len(error) < 2000


def test_memory_does_not_grow_with_the_file() -> None:
    line = json.dumps({"text": "dispensa de licitação " * 50}) + "\n"
    wrote("a.jsonl", line * 4_000)
    documents = iter(reader("a.jsonl"))
    list(islice(documents, 100))
    tracemalloc.start()
    count = sum(1 for _ in documents)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 3_900
    assert peak < 1_000_000 < Path("a.jsonl").stat().st_size


# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    rows = [["id", "text", "ano"], ["1", "um, dois; três | quatro", "2020"], ["2", 'cinco "seis"', "2021"]]
    with Path("a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    expected = [IndexDocument(row[0], {"text": row[1]}, {"ano": row[2]}) for row in rows[1:]]
    assert read("a.csv") == expected


def test_one_column_with_commas_in_its_texts() -> None:
    wrote("a.csv", 'text\n"um, dois"\ntrês\n')
    assert [(it.id, it.fields["text"]) for it in read("a.csv")] == [("a.csv:2", "um, dois"), ("a.csv:3", "três")]


def test_line_breaks_in_quotes_and_where_rows_begin() -> None:
    wrote("a.csv", 'id;text\r\n;"um\r\ndois"\r\n1;x;y\r\n')
    wrote("b.csv", 'id;text\r\n;"um\r\ndois"\r\n;\r\n\r\n;três\r\n')
    assert refused("a.csv").startswith("a.csv:4 has 3 cells")
    assert [(it.id, it.fields["text"]) for it in read("b.csv")] == [("b.csv:2", "um\r\ndois"), ("b.csv:6", "três")]


def test_tsv_is_not_guessed() -> None:
    wrote("a.tsv", "id\ttext\n1\ta,b;c\n")
    assert read("a.tsv") == [IndexDocument("1", {"text": "a,b;c"})]


def test_a_delimiter_that_is_named() -> None:
    wrote("a.csv", "id~text\n1~a,b\n")
    assert read("a.csv", delimiter="~") == [IndexDocument("1", {"text": "a,b"})]


def test_numbers_for_filters() -> None:
    wrote("a.csv", "id,text,ano,valor,cep\n1,t,2020,1.50,01310\n2,t,,,\n")
    documents = read("a.csv", columns=Columns(numbers=frozenset({"ano", "valor"})))
    assert [dict(it.metadata) for it in documents] == [
        {"ano": 2020, "valor": 1.5, "cep": "01310"},
        {"ano": None, "valor": None, "cep": ""},
    ]
    wrote("a.csv", "id,text,valor\n1,t,inf\n")
    assert "column 'valor' of a.csv:2 is no number" in refused("a.csv", columns=Columns(numbers=frozenset({"valor"})))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2,b,c", "a.csv:3 has 3 cells and the header 2; expected as many"),
        ("2", "a.csv:3 has 1 cells and the header 2; expected as many"),
        ('2,"b"c', "a.csv:3 is no row of this file"),
        (b"2,a\xe7\xe3o", "a.csv:3 is not valid in this encoding"),
    ],
)
def test_a_bad_row(row: str | bytes, message: str) -> None:
    wrote("a.csv", b"id,text\n1,a\n" + (row if isinstance(row, bytes) else row.encode()) + b"\n4,d\n")
    assert message in refused("a.csv")
    reading = reader("a.csv", skip=True)
    assert [document.id for document in reading] == ["1", "4"]
    assert reading.bad.count == 1


def test_a_quote_that_is_never_closed() -> None:
    wrote("a.csv", 'id,text\n1,a\n2,"b\n3,c\n')
    assert refused("a.csv").startswith("a.csv:3 is no row of this file")


def test_a_cell_of_megabytes_and_a_limit_that_stays() -> None:
    before = csv.field_size_limit()
    text = "obra " * 500_000
    wrote("a.csv", f'id,text\n1,"{text}"\n')
    assert read("a.csv")[0].fields["text"] == text
    assert csv.field_size_limit() == before


def test_headers() -> None:
    wrote("a.csv", "id, text ,\n1,a,b\n")
    assert read("a.csv") == [IndexDocument("1", {"text": "a"}, {"column_3": "b"})]
    wrote("a.csv", "id,text,text\n1,a,b\n")
    assert refused("a.csv") == "a.csv:1 names the column 'text' twice; expected each once"


# Text


def test_a_text_is_one_document() -> None:
    wrote("d/a.txt", "um\r\n\r\ndois\n")
    assert read("d") == [IndexDocument("d/a.txt", {"text": "um\n\ndois\n"}, {"source": "d/a.txt"})]


def test_each_line_of_a_text() -> None:
    wrote("a.txt", "um\n\n  dois  \n")
    assert read("a.txt", lines=True) == [
        IndexDocument("a.txt:1", {"text": "um"}, {"source": "a.txt", "line": 1}),
        IndexDocument("a.txt:3", {"text": "dois"}, {"source": "a.txt", "line": 3}),
    ]


@pytest.mark.parametrize("lines", [True, False])
def test_other_encodings(lines: bool) -> None:
    wrote("a.txt", "bom dia\nlicitação".encode("cp1252"))
    assert "a.txt:2 is not valid in this encoding; name the one that the file has: --encoding" in refused("a.txt")
    assert read("a.txt", encoding="cp1252", lines=lines)[-1].fields["text"].endswith("licitação")
    wrote("a.txt", "licitação".encode("utf-16"))
    assert "a.txt:1 is not valid" in refused("a.txt", lines=lines)
    assert read("a.txt", encoding="utf-16", lines=lines)[0].fields["text"] == "licitação"


def test_an_encoding_that_does_not_exist() -> None:
    from limiar.cli.documents.opening import check_encoding

    for name in ("utf-99", "base64", "nul\0"):
        with pytest.raises(ConfigurationError, match="is not known; expected a name such as utf-8"):
            check_encoding(name)


# Markdown

GUIDE = """\
---
title: not text
---
Preâmbulo.

# Contratações *públicas*

## Dispensa, art. 75

Pequeno valor.

```sh
# não é título
```

## [Pregão](https://example.org) ##

Bens comuns.

Prazos
------

Oito dias.

# Contratações públicas

De novo.

#sem-espaço não é título
"""


def test_sections_of_markdown() -> None:
    wrote("d/guia.md", GUIDE.replace("\n", "\r\n"))
    found = [(it.id, it.fields.get("title"), it.fields["text"]) for it in read("d")]
    assert found == [
        ("d/guia.md", None, "Preâmbulo."),
        (
            "d/guia.md#dispensa-art-75",
            "Contratações públicas > Dispensa, art. 75",
            "Pequeno valor.\n\n```sh\n# não é título\n```",
        ),
        ("d/guia.md#pregão", "Contratações públicas > Pregão", "Bens comuns."),
        ("d/guia.md#prazos", "Contratações públicas > Prazos", "Oito dias."),
        ("d/guia.md#contratações-públicas-1", "Contratações públicas", "De novo.\n\n#sem-espaço não é título"),
    ]
    assert read("d")[1].metadata["headings"] == ["Contratações públicas", "Dispensa, art. 75"]


def test_a_whole_markdown_file() -> None:
    wrote("guia.md", GUIDE)
    (document,) = read("guia.md", headings=False)
    assert document.id == "guia.md"
    assert document.fields["title"] == "Contratações públicas"
    assert document.fields["text"].startswith("Preâmbulo.")
    assert document.fields["text"].endswith("não é título\n")


def test_ids_of_sections_are_unique() -> None:
    wrote("a.md", "# A\nx\n# A\ny\n# A 1\nz\n# A-1\nw\n#\nv\n# !\nu\n")
    ids = [document.id for document in read("a.md")]
    assert len(set(ids)) == len(ids) == 6
    assert ids[:3] == ["a.md#a", "a.md#a-1", "a.md#a-1-1"]


def test_rules_lists_and_tables_are_no_headings() -> None:
    wrote("a.md", "um\n\n---\n\n- item\n---\ndois\n\n| a | b |\n---|---\n")
    assert [document.id for document in read("a.md")] == ["a.md"]


@pytest.mark.parametrize(
    "text", ["# " + " " * 200_000 + "x", "# " + "[" * 200_000, "# " + "*_" * 100_000, "#" * 200_000]
)
def test_headings_that_could_take_for_ever(text: str) -> None:
    wrote("a.md", f"{text}\nlinha\n")
    assert len(read("a.md")) == 1


# Files and folders


def test_folders_are_read_in_order_and_with_all_that_is_in_them() -> None:
    for name in (
        "b.txt",
        "a/z.md",
        "a/y/x.TXT",
        "a/.hidden.txt",
        ".git/c.txt",
        "a/image.png",
        "limiar-index/notes.txt",
    ):
        wrote(f"d/{name}", "texto")
    sources = find_sources(["d", "d/b.txt", "./d/a"], without=Path("d/limiar-index"))
    assert [source.name for source in sources.found] == ["d/b.txt", "d/a/z.md", "d/a/y/x.TXT"]
    assert sources.passed_over == 1 + 1
    assert sources.size == 15


def test_a_folder_that_is_a_beir_collection() -> None:
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        wrote(f"d/scifact/{name}", "")
    assert [source.name for source in find_sources(["d"]).found] == ["d/scifact/corpus.jsonl"]


def test_names_do_not_depend_on_how_the_path_is_written(tmp_path: Path) -> None:
    wrote("d/a.txt", "t")
    ways = ["d/a.txt", "./d/a.txt", "d/../d/a.txt", str(tmp_path / "d" / "a.txt")]
    assert {find_sources([way]).found[0].name for way in ways} == {"d/a.txt"}
    assert find_sources(["d/a.txt"], base=Path("d")).found[0].name == "a.txt"
    assert find_sources(["d/a.txt"], base=Path("other")).found[0].name == (tmp_path / "d" / "a.txt").as_posix()


def test_files_that_cannot_be_read() -> None:
    assert refused("none.jsonl") == "none.jsonl cannot be read (No such file or directory)"
    assert refused("none") == "none cannot be read (No such file or directory)"
    wrote("a.pdf", "%PDF")
    assert refused("a.pdf").startswith("a.pdf has no ending that limiar knows (.jsonl, ")
    assert read("a.pdf", kind="txt")[0].id == "a.pdf"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read() -> None:
    wrote("d/a.txt", "t").chmod(0)
    assert refused("d") == "d/a.txt cannot be read (Permission denied)"
    Path("d").chmod(0)
    assert refused("d") == "d cannot be read (Permission denied)"
    Path("d").chmod(0o700)


def test_a_name_that_is_no_unicode() -> None:
    try:
        Path(os.fsdecode(b"a\xe7.txt")).write_text("t", encoding="utf-8")
    except OSError:
        pytest.skip("this file system has no such names")
    assert read(".")[0].id == "a\ufffd.txt"


def test_how_far_the_reading_is() -> None:
    wrote("a.jsonl", '{"text": "t"}\n' * 3)
    wrote("b.txt", "t" * 1000)
    reading = reader("a.jsonl", "b.txt")
    assert sum(1 for _ in reading) == 4 == reading.documents
    assert reading.position == 42 + 1000
