"""What Azure's own API descriptions say of every operation that is emulated, as data and as checks.

The YAML files below describe operations and types in a compact notation (see ``notation``); each
names the description that its facts come from. ``find`` answers the operation that a request
means; ``Operation.check_request`` and ``Operation.check_response`` answer what is wrong with an
exchange, as a list of ``Violation``, each with the field's path, what was given and what is
allowed. Requests are held to types, required fields, enumerations, names, queries and
api-versions; answers to types and required fields only, since Azure itself adds fields, leaves out
declared headers and answers null.
"""

from emulator.protocol.descriptions.operations import AZURE, IDENTITY, STORAGE, Operation, find
from emulator.protocol.descriptions.violations import Violation

__all__ = ["AZURE", "IDENTITY", "STORAGE", "Operation", "Violation", "find"]
