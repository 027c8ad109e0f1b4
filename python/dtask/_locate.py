# SPDX-License-Identifier: Apache-2.0
"""Where the cluster is: from arguments, the environment or a scheduler file (protocol, section 7)."""

import json
import os

from . import _wire
from .errors import ConnectError


def locator(address, token, scheduler_file):
    """A function that returns ((host, port), token) from the arguments or the environment."""
    environment = os.environ
    if address is None and scheduler_file is None:
        address = environment.get("DTASK_ADDRESS")
        if address is None or (token is None and "DTASK_TOKEN" not in environment):
            scheduler_file = environment.get("DTASK_SCHEDULER_FILE", scheduler_file)
            if scheduler_file is not None:
                address = None
    if address is not None:
        text = token if token is not None else environment.get("DTASK_TOKEN")
        if text is None:
            raise ConnectError(f"no token for {address}: give token= or set DTASK_TOKEN")
        where = _wire.parse_address(address, "the scheduler's address")
        secret = _wire.parse_token(text, "the token")
        return lambda: (where, secret)
    if scheduler_file is None and "SLURM_DTASK_TOKEN" in environment:
        raise ConnectError(
            "this task runs without a cluster, though its step was started by 'srun --dtask': "
            f"dtask's plugin is missing on node {environment.get('SLURMD_NODENAME', '?')}, or not "
            "named in plugstack.conf there"
        )
    if scheduler_file is None:
        raise ConnectError(
            "no cluster is known here: run the script by 'srun --dtask' or 'dtask run', give "
            "address= or scheduler_file=, or set DTASK_ADDRESS and DTASK_TOKEN, or "
            "DTASK_SCHEDULER_FILE"
        )

    def read():
        source = f"the scheduler file {os.fspath(scheduler_file)}"
        with open(scheduler_file, encoding="utf-8") as file:
            try:
                content = json.load(file)
            except ValueError as error:
                raise ConnectError(f"{source}: not JSON: {error}") from None
        if not isinstance(content, dict) or content.get("type") != "dtask":
            raise ConnectError(f"{source}: not the file of a dtask cluster")
        if content.get("protocol") != 1:
            raise ConnectError(f"{source}: protocol {content.get('protocol')}, expected 1")
        where = _wire.parse_address(str(content.get("address")), source)
        return where, _wire.parse_token(str(content.get("token")), source)

    return read
