"""Imports OpenVINO without its usage report.

`import openvino` sends an event to its makers and writes into the user's home folder, unless the `openvino_telemetry`
package is absent: then it takes the silent stub that it ships for that case. So the package is made to look absent for
the length of the import.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType

_TELEMETRY = "openvino_telemetry"
_lock = threading.Lock()


def import_openvino() -> ModuleType:
    """The `openvino` module. Nothing is sent, unless the caller imported it before limiar did."""
    with _lock:
        hide = "openvino" not in sys.modules and _TELEMETRY not in sys.modules
        if hide:
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            if hide:
                del sys.modules[_TELEMETRY]
    module: ModuleType = openvino
    return module
