"""A small `HybridIndex` for the tests of both adapters, and an encoder whose vectors can be made to fail."""

import threading
import zlib

import numpy as np

from limiar import IndexDocument

TEXTS = {
    "dispensa": "Dispensa de licitação por valor: a contratação direta de obras até o limite legal.",
    "pregao": "O pregão eletrônico é a modalidade de licitação para bens e serviços comuns.",
    "recurso": "O prazo de recurso contra a habilitação é de três dias úteis.",
    "empenho": "Restos a pagar não processados são cancelados no fim do exercício.",
    "quorum": "Sem quórum o cluster Proxmox passa a somente leitura.",
    "ceph": "O Ceph guarda três cópias de cada objeto em servidores diferentes.",
}
METADATA = {
    "dispensa": {"year": 2021, "tags": ["lei", "obras"]},
    "pregao": {"year": 2019, "tags": ["lei"]},
    "recurso": {"year": 2021, "tags": ["lei", "prazo"]},
    "empenho": {"year": 2020, "topic": "orçamento"},
    "quorum": {"year": 2024, "topic": "infra", "checked": True},
    "ceph": {"year": 2024, "topic": "infra", "tags": []},
}
DOCUMENTS = [IndexDocument(name, {"text": TEXTS[name]}, METADATA[name]) for name in TEXTS]


class WordEncoder:
    """Hashed bags of words: near vectors for texts with the same words, and no model.

    Attributes:
        embedded: every document text so far.
        error: raised for every query.
        gate: waited for at every query.
    """

    model_id = "test/words"
    dimensions = 64

    def __init__(self):
        self.embedded = []
        self.error = None
        self.gate = threading.Event()
        self.gate.set()

    def embed_query(self, text):
        self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return self._vector(text)

    def embed_documents(self, texts, *, progress=None):
        self.embedded += texts
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text):
        vector = np.full(self.dimensions, 0.05, np.float32)
        for word in text.lower().replace(".", " ").replace(":", " ").split():
            vector[zlib.crc32(word.encode()) % self.dimensions] += 1
        return vector / np.linalg.norm(vector)
