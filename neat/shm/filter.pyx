"""The packet filter's segments as the supervisor writes and reads them. The layout is in filter.pxd."""

from collections import namedtuple

from neat import filter as language
from neat.shm import segment as segments
from neat.shm.segment import Segment, SegmentError
from neat.shm.steering import SLOTS

from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset
from neat.shm.atomic cimport fence, load64, store64

SET_BYTES = sizeof(FilterSet)
FILTER_BYTES = segments.page_align(FILTER_HEADER + 2 * sizeof(FilterSet))
# Of the track segment: one for each slot, then one for each IP part that there may be.
AREAS = SLOTS + SLOTS // 2
TRACK_BYTES = segments.page_align(sizeof(TrackHeader) + AREAS * sizeof(TrackArea))
RULES, TEXT_BYTES = FILTER_RULES, FILTER_TEXT

_STATES = {
    "new": STATE_NEW, "established": STATE_ESTABLISHED, "related": STATE_RELATED, "invalid": STATE_INVALID,
}
_INTERFACES = {"": INTERFACE_ANY, "lo": INTERFACE_LO, "tap": INTERFACE_TAP}
_VERDICTS = {"": VERDICT_NONE, "accept": VERDICT_ACCEPT, "drop": VERDICT_DROP, "reject": VERDICT_REJECT}

Logged = namedtuple(
    "Logged", "at handle chain interface protocol source sport destination dport icmp_type length"
)


def create():
    """A new filter segment, without a set of rules: its descriptor."""
    fd = segments.create("filter", FILTER_BYTES)
    segment = Segment(fd, FILTER_BYTES, length=segments.PAGE)
    header = <FilterHeader*><uintptr_t>segment.address
    header.magic, header.format = FILTER_MAGIC, FILTER_VERSION
    return fd


def create_track():
    return segments.create("track", TRACK_BYTES)


cdef class FilterView:
    def __init__(self, int rules_fd, int track_fd, uint32_t area):
        cdef uintptr_t areas, rates, own
        if area >= AREAS:
            raise SegmentError(f"there is no area {area}")
        size, start = sizeof(TrackArea), sizeof(TrackHeader)
        rules = Segment(rules_fd, FILTER_BYTES, writable=False)
        self.segments = (
            rules,
            Segment(track_fd, TRACK_BYTES, writable=False),
            Segment(track_fd, TRACK_BYTES, length=start),
            Segment(track_fd, TRACK_BYTES, start=start + area * size, length=size),
        )
        self.header = header_of(rules)
        areas, rates, own = [segment.address for segment in self.segments[1:]]
        self.areas = <TrackArea*>(areas + sizeof(TrackHeader))
        self.rates, self.own = <TrackHeader*>rates, <TrackArea*>own
        self.area, self.count = area, AREAS


cdef FilterHeader* header_of(segment) except NULL:
    cdef uintptr_t address = segment.address
    header = <FilterHeader*>address
    if header.magic != FILTER_MAGIC or header.format != FILTER_VERSION:
        raise SegmentError(f"it is no filter segment of version {FILTER_VERSION}")
    return header


cdef class Rules:
    """The supervisor's side of the filter segment."""

    cdef object segment
    cdef FilterHeader* header
    cdef FilterSet* sets

    def __init__(self, fd):
        self.segment = Segment(fd, FILTER_BYTES)
        self.header = header_of(self.segment)
        self.sets = <FilterSet*><uintptr_t>(self.segment.address + FILTER_HEADER)

    @property
    def generation(self):
        return self.header.generation

    @property
    def text(self):
        """What was published with the rules that count; b"" when there are none yet."""
        chosen = &self.sets[self.header.generation & 1]
        if not self.header.generation or chosen.text > FILTER_TEXT:
            return b""
        return bytes(chosen.text_bytes[: chosen.text])

    def publish(self, chains, policies, bytes text):
        """Make it the set that counts, in one store. chains: for input and output, [(handle, index, Rule)];
        policies: "accept" or "drop" for each; text: up to TEXT_BYTES, for a successor. FilterError when it
        does not fit."""
        cdef uint64_t generation = self.header.generation + 1
        chosen = &self.sets[generation & 1]
        language.check_size([rule for chain in chains for _, _, rule in chain])
        if len(text) > FILTER_TEXT:
            raise language.FilterError(f"the rules are {len(text)} bytes of text: there can be {FILTER_TEXT}")
        store64(&chosen.generation, 0)
        fence()
        chosen.inputs, chosen.outputs = len(chains[0]), len(chains[1])
        chosen.ranges = 0
        for i, policy in enumerate(policies):
            chosen.policies[i] = _VERDICTS[policy]
        for i, (handle, index, rule) in enumerate([*chains[0], *chains[1]]):
            self._write(chosen, &chosen.rules[i], handle, index, rule)
        memcpy(chosen.text_bytes, <const uint8_t*>text, len(text))
        chosen.text = len(text)
        fence()
        store64(&chosen.generation, generation)
        store64(&self.header.generation, generation)

    cdef int _write(
        self, FilterSet* chosen, FilterRule* out, uint32_t handle, uint32_t index, rule
    ) except -1:
        memset(out, 0, sizeof(FilterRule))
        out.handle, out.index = handle, index
        out.verdict = VERDICT_RESET if _resets(rule) else _VERDICTS[rule.verdict]
        out.reject_code = language.REJECTS.get(rule.reject, 0)
        out.interface = _INTERFACES[rule.interface]
        for state in rule.states:
            out.states |= _STATES[state]
        if rule.log is not None:
            out.flags |= FLAG_LOG
        if rule.limit is not None:
            out.flags |= FLAG_LIMIT | (FLAG_OVER if rule.limit.over else 0)
            out.interval = rule.limit.interval_ns
            out.burst = rule.limit.interval_ns * (rule.limit.burst - 1)
        for kind, match in enumerate(language.matches_of(rule)):
            out.matches[kind].first, out.matches[kind].count = chosen.ranges, len(match.ranges)
            out.asked |= (len(match.ranges) != 0) << kind
            out.negated |= match.negated << kind
            for low, high in match.ranges:
                chosen.range_pool[chosen.ranges].low = low
                chosen.range_pool[chosen.ranges].high = high
                chosen.ranges += 1
        return 0


def _resets(rule):
    return rule.verdict == "reject" and rule.reject == language.TCP_RESET


cdef class Track:
    """What all replicas have counted and logged, to be read."""

    cdef object segment
    cdef TrackArea* areas

    def __init__(self, fd):
        self.segment = Segment(fd, TRACK_BYTES, writable=False)
        self.areas = <TrackArea*><uintptr_t>(self.segment.address + sizeof(TrackHeader))

    def counts(self, int index):
        """(packets, bytes) of a rule, by all replicas that ever were."""
        packets = bytes_ = 0
        for area in range(AREAS):
            packets += self.areas[area].counts[index].packets
            bytes_ += self.areas[area].counts[index].bytes
        return packets, bytes_

    def logged(self, int area):
        """How many entries were ever written there."""
        return load64(&self.areas[area].logged)

    def entry(self, int area, uint64_t number):
        """One of the last LOG_ENTRIES; an older one has been written over."""
        entry = &self.areas[area].log[number & (LOG_ENTRIES - 1)]
        return Logged(
            entry.at, entry.handle, entry.chain, entry.interface, entry.protocol, entry.source, entry.sport,
            entry.destination, entry.dport, entry.icmp_type, entry.length,
        )
