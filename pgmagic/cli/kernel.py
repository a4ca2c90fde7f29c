"""Kernels of this Python, independent of the kernels that are registered on the machine."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager, KernelManager
from traitlets import default


class _ThisPythonOnly(KernelSpecManager):
    """Finds the same kernel under every name: the interpreter that runs pgmagic."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(argv=make_ipkernel_cmd(), display_name="Python 3", language="python", name=kernel_name)


class ThisPythonKernelManager(AsyncKernelManager):
    """Starts kernels with the interpreter that runs pgmagic, so that they can import it."""

    @default("kernel_spec_manager")
    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return _ThisPythonOnly(parent=self)


@contextlib.contextmanager
def private_transport(manager: KernelManager) -> Iterator[None]:
    """Make a kernel, before it is started, communicate over sockets in a new private folder instead of TCP.

    The folder has a short path, because the path of a socket may have about 100 bytes.
    """
    if sys.platform == "win32":
        yield
        return
    with tempfile.TemporaryDirectory(prefix="pgmagic-") as folder:
        manager.transport = "ipc"
        manager.connection_file = str(Path(folder) / "kernel.json")
        yield
