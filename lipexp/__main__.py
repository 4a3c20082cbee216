from lipexp.cli import entry

entry()
