import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for index_corpus: tests are imported by path, not as a package
