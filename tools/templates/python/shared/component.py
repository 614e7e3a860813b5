"""What componentize-py starts from. There is nothing to change here: the tool is in tool.py."""

import tool  # noqa: F401
from stoplog import (  # noqa: F401
    About,
    ExternalTool,
    IrreversibleTool,
    PureTool,
    ReadTool,
    ReversibleTool,
)
