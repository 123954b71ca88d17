"""The subcommands of ``purplesky``, a module for each theme.

A command reads its options, imports what it needs when it runs, calls one function of a room and prints what it says.
It never computes anything itself. :data:`ALL` is what the front door offers.
"""

from commands import installation, lake, learning, trading, venue

#: Every module's commands, in the order of ``purplesky --help``'s source.
ALL = (*lake.COMMANDS, *learning.COMMANDS, *trading.COMMANDS, *venue.COMMANDS, *installation.COMMANDS)

__all__ = ["ALL"]
