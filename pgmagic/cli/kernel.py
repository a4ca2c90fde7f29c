"""Kernels of this very Python, whatever kernels are registered on the machine."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager, KernelManager
from traitlets import default


class _ThisPythonOnly(KernelSpecManager):
    """Finds one kernel under every name: the interpreter that runs pgmagic."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(
            argv=make_ipkernel_cmd(), display_name="Python 3", language="python", name=kernel_name
        )


class ThisPythonKernelManager(AsyncKernelManager):
    """Starts kernels with the interpreter that runs pgmagic, so that they can import it."""

    @default("kernel_spec_manager")
    def _kernel_spec_manager_default(self) -> Any:
        return _ThisPythonOnly(parent=self)


@contextlib.contextmanager
def private_transport(manager: KernelManager) -> Iterator[None]:
    """Let a kernel that is not started yet talk over sockets in a new folder of our own, not over TCP.

    The folder is a short path: a socket's may have about 100 bytes.
    """
    if sys.platform == "win32":
        yield
        return
    with tempfile.TemporaryDirectory(prefix="pgmagic-") as folder:
        manager.transport = "ipc"
        manager.connection_file = str(Path(folder) / "kernel.json")
        yield
