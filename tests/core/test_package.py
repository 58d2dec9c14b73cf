"""The package from outside: what it exports, what importing it costs, what it must never contain."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import limiar
from limiar import errors

ROOT = Path(__file__).parents[2]
ROOTS = [ROOT / "shared", ROOT / "langchain_ext", ROOT / "llama_index_ext"]
SOURCES = sorted(path for root in ROOTS for path in root.rglob("*.py"))
CORE_SOURCES = [path for path in SOURCES if path.is_relative_to(ROOT / "shared")]

FRAMEWORKS = {
    "chromadb", "langchain", "langchain_classic", "langchain_core", "llama_index", "openai", "sentence_transformers",
    "torch", "transformers",
}  # fmt: skip
SLOW_OR_OPTIONAL = FRAMEWORKS | {
    "bm25s",
    "filelock",
    "onnxruntime",
    "openvino",
    "rank_bm25",
    "rich",
    "sklearn",
    "tantivy",
    "tokenizers",
}


# Exports


def test_the_names_of_limiar() -> None:
    assert limiar.__all__ == [
        "AddReport",
        "Analyzer",
        "Arm",
        "ArmError",
        "ArmHealth",
        "ArmHit",
        "BM25Index",
        "BundledEncoder",
        "ChatAnswer",
        "ChatError",
        "ChatModel",
        "ConfigurationError",
        "CrossEncoderScorer",
        "Encoder",
        "EncoderError",
        "Estimate",
        "Expander",
        "Expansion",
        "ExpansionError",
        "ExpansionEstimate",
        "ExpansionParseError",
        "ExpansionPrompt",
        "ExpansionReport",
        "ExpansionStore",
        "ExpansionStoreError",
        "FunctionChat",
        "FusedHit",
        "Hit",
        "HuggingFaceEncoder",
        "HybridHit",
        "HybridIndex",
        "HybridResult",
        "HybridStats",
        "IndexDocument",
        "IndexHealth",
        "InputError",
        "InputTypeError",
        "Keyword",
        "LateInteractionScorer",
        "LimiarError",
        "MissingExtraError",
        "ModelDamagedError",
        "ModelError",
        "ModelNotFoundError",
        "NothingRelevantError",
        "OfflineGenerator",
        "OkapiBM25",
        "OpenAIChat",
        "OpenAIEncoder",
        "Outcome",
        "Prices",
        "QueryExpander",
        "QueryVariants",
        "Recipe",
        "RerankResult",
        "Reranker",
        "RerankerService",
        "ScoredDocument",
        "Scorer",
        "Scores",
        "ScoringError",
        "Selection",
        "SelectionPolicy",
        "StoreDamagedError",
        "StoreError",
        "StoreLockedError",
        "StoreNotFoundError",
        "StoreUnreachableError",
        "StoreVersionError",
        "StoreWriteError",
        "StoredDocument",
        "VectorCacheError",
        "__version__",
        "fuse",
        "get_relevant_docs",
        "reranker_service",
        "select",
    ]


def test_the_names_of_langchain_limiar() -> None:
    pytest.importorskip("langchain_core")
    assert importlib.import_module("langchain_limiar").__all__ == [
        "HybridDocumentIndex",
        "HybridRetriever",
        "KeywordExpander",
        "KeywordExpansionRetriever",
        "LangChainChat",
        "LimiarEmbeddings",
        "LimiarRerank",
        "hybrid_rerank",
    ]


def test_the_names_of_llama_index_limiar() -> None:
    pytest.importorskip("llama_index.core")
    assert importlib.import_module("llama_index_limiar").__all__ == [
        "HybridRetriever",
        "KeywordExpander",
        "KeywordExpansionRetriever",
        "LimiarEmbedding",
        "LimiarRerank",
        "LlamaIndexChat",
        "RerankedRetriever",
        "add_nodes",
        "hybrid_rerank",
    ]


@pytest.mark.parametrize("name", limiar.__all__)
def test_each_name_resolves(name: str) -> None:
    assert getattr(limiar, name) is not None
    assert name in dir(limiar)


def test_each_name_has_one_home() -> None:
    homes = [name for names in limiar._HOMES.values() for name in names]
    assert sorted(homes) == sorted(set(limiar.__all__) - {"__version__"})


@pytest.mark.parametrize(("home", "names"), limiar._HOMES.items())
def test_each_home_is_where_the_name_is_defined(home: str, names: list[str]) -> None:
    module = importlib.import_module(home)
    for name in names:
        assert getattr(module, name) is getattr(limiar, name)
        assert getattr(getattr(module, name), "__module__", home) == home


def test_type_checkers_see_the_same_homes() -> None:
    """The imports under TYPE_CHECKING and `_HOMES` say the same."""
    tree = ast.parse((ROOT / "shared/limiar/__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imports = {
        node.module: sorted(alias.name for alias in node.names)
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
    }
    assert imports == {home: sorted(names) for home, names in limiar._HOMES.items()}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'limiar' has no attribute 'Rerank'"):
        _ = limiar.Rerank


# Importing


@pytest.mark.parametrize(
    "module",
    [
        "limiar", "limiar.rerank", "limiar.selection", "limiar.service", "limiar.testing", "limiar.errors",
        "limiar.scoring.protocol", "limiar.scoring.resolve", "limiar.text.analyzer", "limiar.embeddings.protocol",
        "limiar.embeddings.huggingface", "limiar.embeddings.openai_api",
        "limiar.retrieval.bm25",
        "limiar.retrieval.fusion", "limiar.retrieval.okapi",
        "limiar.retrieval.ensemble",
        "limiar.keywords.generate", "limiar.keywords.openai_chat", "limiar.keywords.jsonl",
    ],
)  # fmt: skip
def test_importing_the_core_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    loaded = set(run.stdout.split())
    assert "limiar" in loaded
    assert not loaded & SLOW_OR_OPTIONAL


def test_importing_the_core_changes_no_logging_and_no_warnings() -> None:
    program = (
        "import logging, warnings\n"
        "before = (list(logging.root.handlers), logging.root.level, list(warnings.filters))\n"
        "import limiar.service, limiar.testing\n"
        "assert before == (list(logging.root.handlers), logging.root.level, list(warnings.filters))\n"
        "assert not logging.getLogger('limiar').handlers\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


# Sources


def imports_of(node: ast.AST) -> set[str]:
    """The top-level packages that a node imports by itself."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return {node.module.partition(".")[0]}
    return set()


def at_import_time(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: no bodies of functions, nothing under TYPE_CHECKING."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("path", CORE_SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_of_the_core_imports_a_framework_at_its_top(path: Path) -> None:
    found = {name for node in at_import_time(parse(path)) for name in imports_of(node)}
    assert not found & FRAMEWORKS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_anywhere(path: Path) -> None:
    found = {name for node in ast.walk(parse(path)) for name in imports_of(node)}
    assert not found & {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.name)
def test_a_root_holds_one_package_and_no_loose_module(root: Path) -> None:
    assert list(root.glob("*.py")) == []
    packages = [path for path in root.iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    assert len(packages) == 1
    assert (packages[0] / "py.typed").exists()


# Errors

ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_is_a_limiar_error_and_exported(error: type[Exception]) -> None:
    assert issubclass(error, errors.LimiarError)
    assert error.__name__ in limiar.__all__
    assert error.__doc__


@pytest.mark.parametrize(
    ("error", "parents"),
    [
        (errors.ConfigurationError, (ValueError,)),
        (errors.InputError, (ValueError,)),
        (errors.InputTypeError, (errors.InputError, TypeError)),
        (errors.MissingExtraError, (ImportError,)),
        (errors.ModelNotFoundError, (errors.ModelError,)),
        (errors.ModelDamagedError, (errors.ModelError,)),
        (errors.ArmError, (RuntimeError,)),
        (errors.ScoringError, (RuntimeError,)),
        (errors.EncoderError, (RuntimeError,)),
        (errors.VectorCacheError, (errors.EncoderError,)),
        (errors.StoreNotFoundError, (errors.StoreError,)),
        (errors.StoreLockedError, (errors.StoreError,)),
        (errors.StoreWriteError, (errors.StoreError,)),
        (errors.StoreDamagedError, (errors.StoreError,)),
        (errors.StoreVersionError, (errors.StoreError,)),
    ],
)
def test_the_error_tree(error: type[Exception], parents: tuple[type[Exception], ...]) -> None:
    assert all(issubclass(error, parent) for parent in parents)


def test_every_error_is_drawn_in_the_tree() -> None:
    assert errors.__doc__ is not None
    assert all(error.__name__ in errors.__doc__ for error in ERRORS)


def test_a_missing_extra_says_what_to_install() -> None:
    error = errors.MissingExtraError("the LangChain reranker", "langchain")
    assert error.extra == "langchain"
    assert str(error) == "the LangChain reranker needs an optional dependency: pip install 'limiar[langchain]'"


def test_nothing_relevant_carries_the_best_score() -> None:
    error = errors.NothingRelevantError(0.45, 0.4321, 7)
    assert error.best_score == 0.4321
    assert "none of 7 documents reaches threshold=0.45 (the best scores 0.432)" in str(error)
