"""The archive (档案): the whole network by date. Files in, all or nothing, every complaint with its place; lookups and files out.

    files, csvfile, xlsxfile, jsonfile   an archive as text        kinds, cells, rows    what may stand in it, as values
    stored                               what the store has        desk, spans           what shall be, and who may say so (pure)
    things, hang, roles, accounts        one kind of row each      write, loading        into the store
    route                                what the collector asks   lists, past, exporting   out again

Importing the same archive twice changes nothing. A meter that appears with a later `from` moves there; a new meter on a point ends the old
one's installation (换表).
"""

from headend.store.archive.changes import Change, Summary
from headend.store.archive.complaint import ArchiveError, Complaint, NotAnArchive
from headend.store.archive.exporting import export
from headend.store.archive.kinds import KINDS
from headend.store.archive.lists import capacities, listing
from headend.store.archive.loading import ArchiveBusy, load
from headend.store.archive.past import History, UnknownCode, history
from headend.store.archive.route import GONE, Installed, Terminal, TerminalState, installed, seen, terminals

__all__ = [
    "GONE",
    "KINDS",
    "ArchiveBusy",
    "ArchiveError",
    "Change",
    "Complaint",
    "History",
    "Installed",
    "NotAnArchive",
    "Summary",
    "Terminal",
    "TerminalState",
    "UnknownCode",
    "capacities",
    "export",
    "history",
    "installed",
    "listing",
    "load",
    "seen",
    "terminals",
]
