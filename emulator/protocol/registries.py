"""Which registries there are: carried, Azure's but not carried, unknown."""

from emulator.catalogue import Catalogue, Registry
from emulator.protocol.errors import ArmError, NotEmulated


def registry_named(catalogue: Catalogue, name: str) -> Registry:
    """The registry of that name, in whatever case.

    Raises NotEmulated: Azure has it and this emulator has not. ArmError 404: nobody has it.
    """
    found = catalogue.registry(name)
    if found is not None:
        return found
    if catalogue.is_not_carried(name):
        raise NotEmulated(f"the registry '{name}'; {carried(catalogue)}.")
    raise ArmError(404, "RegistryNotFound", f"The registry '{name}' was not found.")


def carried(catalogue: Catalogue) -> str:
    """The registries that there are, as a refusal names them."""
    return "this emulator carries " + ", ".join(one.name for one in catalogue.registries)
