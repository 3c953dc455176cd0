"""Scripts of other tests once more, with a crash after each packet of the peer that nobody may notice.

Left out are those that look at what a successor makes anew (congestion, timers, estimates, delayed ACKs,
counters) or says again (events)."""

import pytest

from .harness.conn import Conn
from .test_tcp_abort import (  # noqa: F401
    test_as_much_as_the_congestion_window_allows,
    test_as_much_as_the_window_allows,
    test_closed_window,
    test_fin_that_was_asked_for_leaves_too,
    test_nothing_that_is_held_back,
    test_text_leaves_before_the_reset,
    test_what_arrives_meanwhile_changes_nothing,
)
from .test_tcp_attacks import (  # noqa: F401
    test_ack_at_the_right_edge_counts,
    test_ack_far_in_the_past,
    test_ack_to_a_listener_draws_rst,
    test_backlog_can_change,
    test_backlog_counts_what_is_not_accepted,
    test_broken_options_end_the_list,
    test_closed_listener_leaves_accepted_connections_alone,
    test_closed_listener_resets_what_waits,
    test_dead_connections_leave_the_backlog,
    test_half_of_a_segment_is_not_parsed,
    test_listen_checks_its_arguments,
    test_no_socket_left_for_a_connection,
    test_restarted_peer_is_told_by_the_challenge,
    test_reuseport_spreads_connections,
    test_rst_outside_the_window_is_dropped,
    test_segment_for_nobody_draws_rst,
    test_syn_in_window_draws_challenge_ack,
    test_the_share_of_a_closed_listener_goes_to_the_others,
)
from .test_tcp_buffer_space import (  # noqa: F401
    test_a_limit_of_its_own_is_there_at_once,
)
from .test_tcp_close import (  # noqa: F401
    test_a_hang_up_with_linger,
    test_abort,
    test_close_in_syn_sent_is_silent,
    test_close_waits_for_what_is_in_the_ring,
    test_fin_with_text_both_ways,
    test_nonsense_about_what_was_written_is_at_most_the_ring,
    test_oldest_time_wait_makes_room,
    test_orphan_gives_up_its_fin,
    test_orphan_in_fin_wait_2_times_out,
    test_passive_close,
    test_shutdown_in_syn_rcvd_of_a_simultaneous_open,
    test_simultaneous_close,
    test_sock_is_reused_with_another_generation,
    test_text_after_close_and_ack_resets,
    test_text_after_close_resets,
    test_text_out_of_order_was_touched,
    test_text_that_the_engine_never_looked_at_was_touched,
    test_text_that_the_peer_never_took_was_touched,
    test_time_wait_acknowledges_the_fin_again_and_starts_anew,
    test_time_wait_answers_old_segments_but_not_for_ever,
    test_time_wait_ignores_an_inexact_rst,
    test_time_wait_of_an_active_open,
    test_time_wait_rejects_an_old_syn,
    test_time_wait_yields_to_a_newer_timestamp,
    test_we_can_send_after_the_peers_fin,
)
from .test_tcp_close_request import (  # noqa: F401
    test_before_the_connection_is_up,
    test_the_fin_leaves_with_the_last_data,
    test_the_hang_up_that_follows_changes_nothing,
)
from .test_tcp_closed_windows import (  # noqa: F401
    test_bare_fin_at_our_closed_window_is_taken,
    test_challenge_in_syn_rcvd,
    test_rst_at_a_closed_window_is_exact,
    test_text_and_fin_at_our_closed_window_are_not_taken,
)
from .test_tcp_data import (  # noqa: F401
    test_a_flush_of_nonsense,
    test_bad_checksum_is_dropped,
    test_cork_ends_after_200_ms,
    test_cork_holds_what_is_no_full_segment,
    test_fin_pushes_what_nagle_holds,
    test_large_frames_are_whole_segments,
    test_largest_frame_fits_into_ip,
    test_merged_frame_is_acknowledged_at_once,
    test_nagle_holds_the_second_small_segment,
    test_nagle_lets_the_tail_of_a_large_write_go,
    test_no_delay_at_zero,
    test_nodelay,
    test_nodelay_flushes_a_cork_once,
    test_nodelay_flushes_no_more_than_what_was_there,
    test_nodelay_flushes_what_a_window_held_when_it_opens,
    test_offloads,
    test_quickack,
    test_send_and_acknowledge,
)
from .test_tcp_handshake import (  # noqa: F401
    test_absurd_mss_is_not_believed,
    test_ack_without_syn_in_syn_sent_is_ignored,
    test_bad_ack_in_syn_rcvd_draws_rst,
    test_bad_ack_in_syn_sent_draws_rst,
    test_connect_checks_its_arguments,
    test_connect_times_out,
    test_data_on_the_syn_ack_is_taken,
    test_ephemeral_ports_are_of_the_replicas_class_and_differ,
    test_isns_differ_between_peers_and_grow_with_time,
    test_mss_is_the_smaller_of_both,
    test_no_mss_option_means_536,
    test_only_offered_options_are_answered,
    test_rst_in_syn_rcvd_returns_to_listen,
    test_rst_without_a_good_ack_does_not_end_a_connect,
    test_scale_above_14_counts_as_14,
    test_syn_ack_is_sent_again,
    test_unreachable_neighbour_ends_a_connect,
)
from .test_tcp_orphans import (  # noqa: F401
    test_a_closed_window_does_not_keep_an_orphan_for_ever,
    test_an_orphan_that_makes_progress_lives,
    test_rst_in_fin_wait_2_must_be_exact,
    test_text_in_the_window_ends_fin_wait_2,
    test_text_outside_the_window_does_not_end_fin_wait_2,
)
from .test_tcp_reassembly import (  # noqa: F401
    test_any_pieces_make_the_stream,
    test_duplicates_repeat_the_window,
    test_each_segment_behind_a_hole_draws_its_own_duplicate,
    test_fin_behind_a_hole_waits,
    test_hole_draws_duplicate_acks_and_its_filling_one_at_once,
    test_one_of_two_holes_is_filled,
)
from .test_tcp_retransmit import (  # noqa: F401
    test_fragmentation_needed_lowers_the_mss,
    test_initial_window,
    test_timestamps_measure_after_a_loss,
    test_window_updates_and_text_are_no_duplicates,
)
from .test_tcp_strays import (  # noqa: F401
    test_a_listener_drops_impossible_syns,
    test_any_flags_at_an_established_connection,
    test_ecn_setup_syn_opens_a_connection_without_ecn,
    test_rst_with_syn_is_not_taken_for_the_syn_again,
    test_two_engines_do_not_answer_each_other_for_ever,
    test_window_of_a_syn_ack_in_a_simultaneous_open_is_not_scaled,
)
from .test_tcp_timestamps import (  # noqa: F401
    test_old_timestamps_do_not_feed_an_ack_war,
    test_out_of_window_syns_are_answered_but_not_all,
    test_probes_of_a_closed_window_carry_the_time,
)
from .test_tcp_timewait import (  # noqa: F401
    test_a_client_whose_server_is_gone_is_refused,
    test_a_rst_with_an_old_timestamp_counts,
    test_impossible_syns_leave_time_wait_alone,
    test_syn_that_nobody_wants_leaves_time_wait_alone,
    test_syn_without_room_in_the_backlog_leaves_time_wait_alone,
    test_syn_without_the_timestamp_is_judged_by_its_number,
    test_timestamp_of_the_new_syn_decides,
)
from .test_tcp_windows import (  # noqa: F401
    test_fin_waits_for_a_window,
    test_probe_of_our_closed_window_is_answered_and_its_ack_counts,
    test_probe_that_is_taken,
    test_probes_go_on_as_long_as_they_are_answered,
    test_receive_limit,
    test_receive_window_closes_and_opens_in_steps,
    test_silly_window_is_not_used,
    test_the_client_core_is_told_of_small_windows,
    test_unanswered_probes_end_the_connection,
    test_window_limits_what_is_sent,
    test_writable_when_a_third_is_free,
)


class Crashing(Conn):
    crashes = True


@pytest.fixture(params=[(1000, None), (2**32 - 1, 2**32 - 300)], ids=["plain", "wrap"])
def make_conn(request):
    irs, iss = request.param

    def make(**settings) -> Conn:
        return Crashing(irs, iss, **settings)

    return make


@pytest.fixture
def conn(make_conn):
    return make_conn()
