"""Random faults, and a checker of what clients saw of them: ``python -m tests.faults --help``.

schedule    which faults a seed gives
stage       three workers and their stores; proxy cuts connections after a COMMIT
faults      one function for each kind of fault
people      clients that act at random; sockets logs what each of their sockets sees
records     what is logged
history     the checker: RULES has its invariants; relays accounts for each relay
soak        the run: a step of faults, then a check, and so on; journal has its history
"""
