# SPDX-License-Identifier: Apache-2.0
"""Where things are in this tree."""

import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
