"""rspamd, clamd and slapd as children of one machine's `govmail up`."""

from admin.engines.clamd import ClamdEngine
from admin.engines.engine import SEARCH_PATH, Engine, EngineState
from admin.engines.rspamd import RspamdEngine
from admin.engines.slapd import SlapdEngine
from admin.engines.supervisor import Engines, build, find_nameservers

__all__ = [
    "SEARCH_PATH", "ClamdEngine", "Engine", "EngineState", "Engines", "RspamdEngine", "SlapdEngine", "build", "find_nameservers",
]  # fmt: skip
