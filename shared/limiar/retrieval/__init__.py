"""First stages: BM25 on disk, its exact reference in memory, and the fusion of several arms."""
