"""The engine settings of the soak: loop, page size, prefix cache, mixed chunk."""

from dataclasses import dataclass
from itertools import product

from nodeagent.plugin_contract import ONLINE_PRIORITY

CHUNK_TOKENS = 128
LONGEST_REQUEST_TOKENS = 900
"""Prompt and output of the longest request: it fits the small KV alone."""

_SMALL_KV_TOKENS = 2048
_LARGE_KV_TOKENS = 24576
_SMALL_KV_ROWS = 32  # KV runs out first
_LARGE_KV_ROWS = 12  # rows run out first
# SGLang counts on so few more tokens of each request, so that KV does run out while they
# decode and it has to retract. A default of 4,096 does the same to longer outputs.
_EXPECTED_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One way to start an engine."""

    is_overlapped: bool
    page_size: int
    has_radix_cache: bool
    mixes_chunks: bool
    has_small_kv: bool

    @property
    def name(self) -> str:
        """A name that says all of it."""
        return "-".join(
            (
                "overlap" if self.is_overlapped else "normal",
                f"page{self.page_size}",
                "radix" if self.has_radix_cache else "noradix",
                "mixed" if self.mixes_chunks else "unmixed",
                "smallkv" if self.has_small_kv else "largekv",
            )
        )

    @property
    def flags(self) -> tuple[str, ...]:
        """SGLang's flags: those of a fleet's engine, and the setting's own."""
        kv = _SMALL_KV_TOKENS if self.has_small_kv else _LARGE_KV_TOKENS
        rows = _SMALL_KV_ROWS if self.has_small_kv else _LARGE_KV_ROWS
        flags = [
            "--enable-priority-scheduling",
            f"--default-priority-value={ONLINE_PRIORITY}",
            "--schedule-policy=fcfs",
            "--retraction-policy=priority",
            "--radix-eviction-policy=priority",
            "--incremental-streaming-output",
            "--log-level=info",
            "--log-level-http=warning",
            f"--chunked-prefill-size={CHUNK_TOKENS}",
            f"--max-total-tokens={kv}",
            f"--max-running-requests={rows}",
            f"--page-size={self.page_size}",
        ]
        if not self.is_overlapped:
            flags.append("--disable-overlap-schedule")
        if not self.has_radix_cache:
            flags.append("--disable-radix-cache")
        if self.mixes_chunks:
            flags.append("--enable-mixed-chunk")
        return tuple(flags)

    @property
    def environment(self) -> dict[str, str]:
        """SGLang's environment, beside the harness's strict idle check."""
        expected = {"SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION": str(_EXPECTED_TOKENS)}
        return {"SGLANG_IS_IN_CI": "1"} | (expected if self.has_small_kv else {})


def all_settings() -> tuple[Setting, ...]:
    """Sixteen settings; KV is small in half of them, whichever three choices one fixes.

    So every triple of loop, page, cache and mixing runs with small KV and with large.
    """
    return tuple(
        Setting(
            is_overlapped=overlapped,
            page_size=page_size,
            has_radix_cache=radix,
            mixes_chunks=mixed,
            has_small_kv=(overlapped + (page_size > 1) + radix + mixed) % 2 == 0,
        )
        for overlapped, page_size, radix, mixed in product(
            (True, False), (1, 16), (True, False), (False, True)
        )
    )
