"""Runs a program of SIPVicious under another User-Agent, as its users do who change the one line: renamed.py svmap ARGUMENTS"""

import importlib
import sys

from sipvicious.libs import svhelper

make = svhelper.makeRequest
assert "friendly-scanner" in make.__defaults__
make.__defaults__ = tuple("Yealink SIP-T46S 66.86.0.15" if value == "friendly-scanner" else value for value in make.__defaults__)
tool = sys.argv.pop(1)
importlib.import_module(f"sipvicious.{tool}").main()
