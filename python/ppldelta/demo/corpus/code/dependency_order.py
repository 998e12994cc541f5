"""Work out in which order a set of build targets has to be made.

Targets are plain strings. `needs` maps each target to the targets it depends
on. Names that only ever appear on the right-hand side are accepted too; they
are taken to need nothing themselves.
"""

from collections import defaultdict


class CycleError(ValueError):
    """Raised when targets depend on each other in a circle."""

    def __init__(self, cycle):
        self.cycle = cycle
        super().__init__("dependency cycle: " + " -> ".join(cycle))


def build_waves(needs):
    """Group targets into waves that can each be built in parallel.

    >>> build_waves({"app": ["lib", "assets"], "lib": ["headers"]})
    [['assets', 'headers'], ['lib'], ['app']]
    """
    waiting = {}
    wanted_by = defaultdict(list)
    for target, requirements in needs.items():
        waiting.setdefault(target, set()).update(requirements)
        for requirement in set(requirements):
            waiting.setdefault(requirement, set())
            wanted_by[requirement].append(target)

    waves = []
    ready = sorted(name for name, missing in waiting.items() if not missing)
    while ready:
        waves.append(ready)
        unlocked = []
        for done in ready:
            del waiting[done]
            for target in wanted_by[done]:
                waiting[target].discard(done)
                if not waiting[target]:
                    unlocked.append(target)
        ready = sorted(unlocked)

    if waiting:
        raise CycleError(_find_cycle(waiting))
    return waves


def _find_cycle(waiting):
    """Return one cycle, given a graph in which every node still waits."""
    position = {}
    path = []
    # Everything left is stuck, so following any unmet need must lead back
    # to a node that was visited before.
    node = min(waiting)
    while node not in position:
        position[node] = len(path)
        path.append(node)
        node = min(waiting[node])
    return path[position[node] :] + [node]


def affected_by(needs, changed):
    """All targets that must be rebuilt when `changed` has been modified."""
    wanted_by = defaultdict(set)
    for target, requirements in needs.items():
        for requirement in requirements:
            wanted_by[requirement].add(target)

    stale = set()
    stack = [changed]
    while stack:
        for target in wanted_by[stack.pop()]:
            if target not in stale:
                stale.add(target)
                stack.append(target)
    return stale


if __name__ == "__main__":
    import doctest

    doctest.testmod()
