# SPDX-License-Identifier: Apache-2.0
"""A module that starts a thread when it is imported: what loads it must not fork."""

import threading
import time

threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
