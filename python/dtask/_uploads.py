# SPDX-License-Identifier: Apache-2.0
"""Modules of the client's on their way to the workers, for those who share no directory with it.

An upload is a zip archive that travels with each function that is sent after it. Executors unpack
it below their scratch directory, once a worker, and import from there. Read by clients and executors.
"""

import os
import sys

LIMIT = 32 << 20  # bytes of an archive


def pack(path):
    """A module, package directory or archive as (name, archive in bytes); the name tells its content.

    Raises FileNotFoundError, ValueError.
    """
    import hashlib
    import io
    import zipfile

    path = os.path.abspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"upload: there is no {path}")
    if path.endswith((".zip", ".whl", ".egg")) and os.path.isfile(path):
        if not zipfile.is_zipfile(path):
            raise ValueError(f"upload: {path} is no zip archive")
        with open(path, "rb") as file:
            data = file.read()
    else:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in _files(path):
                # No times: the same content has the same name.
                info = zipfile.ZipInfo(os.path.relpath(file, os.path.dirname(path)))
                info.compress_type = zipfile.ZIP_DEFLATED
                with open(file, "rb") as opened:
                    archive.writestr(info, opened.read())
        data = buffer.getvalue()
    if len(data) > LIMIT:
        raise ValueError(f"upload: {path} makes an archive of {len(data)} bytes; accepted: {LIMIT}")
    return hashlib.sha256(data).hexdigest()[:32], data


def _files(path):
    if path.endswith(".py") and os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        raise ValueError(f"upload: {path}: accepted: a .py, a package's directory, .zip, .whl or .egg")
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        found += [os.path.join(folder, name) for name in sorted(names)]
    return found


def unpack(name, data):
    """In an executor: what the archive holds can be imported, in place of an older upload of it."""
    directory = os.path.join(os.environ.get("DTASK_SCRATCH") or "/tmp", f"upload-{name}")
    if directory in sys.path:
        return
    if not os.path.isdir(directory):
        _extract(directory, data)
    sys.path.insert(0, directory)
    for top in {entry.split(".")[0] for entry in os.listdir(directory)}:
        for module in [one for one in sys.modules if one == top or one.startswith(top + ".")]:
            del sys.modules[module]


def _extract(directory, data):
    import io
    import shutil
    import tempfile
    import zipfile

    parent = os.path.dirname(directory)
    partial = tempfile.mkdtemp(prefix="upload-", suffix=".part", dir=parent)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(partial)
        os.rename(partial, directory)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not os.path.isdir(directory):  # else another executor was quicker
            raise
