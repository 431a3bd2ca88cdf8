# MuJoCo's bindings are compiled and carry no types: to the type checker, everything in them is of unknown type.
from typing import Any

def __getattr__(name: str) -> Any: ...
