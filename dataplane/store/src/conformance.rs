//! What every store must do, whichever database is under it: each adapter's tests run this whole suite.
//!
//! An adapter implements [`Fixture`] and calls `conformance::suite!(open)`, where `open` makes a fixture with an empty
//! database. Rows are built from [`rows`]: they start valid, and a test changes one word.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::Store;
use super::refusals::RefusalBounds;

pub(crate) mod accounts;
pub(crate) mod challenges;
pub(crate) mod factors;
pub(crate) mod histories;
pub(crate) mod listing;
pub(crate) mod logouts;
pub(crate) mod passwords;
pub(crate) mod population;
pub(crate) mod refusals;
pub(crate) mod rows;
pub(crate) mod sessions;
pub(crate) mod signins;
pub(crate) mod sweeping;

/// One empty database.
pub(crate) trait Fixture: Send + fmt::Debug {
    fn store(&self) -> Arc<Store>;
    /// Closes the store and opens it again. No clone of the store may be left.
    fn reopen(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// As [`Self::reopen`], with another bound for refusals.
    fn reopen_with(
        &mut self,
        refusals: RefusalBounds,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// The one number that a query finds.
    fn ask(&self, sql: &'static str) -> Pin<Box<dyn Future<Output = i64> + Send + '_>>;
    /// How many events have been written.
    fn events(&self) -> Pin<Box<dyn Future<Output = usize> + Send + '_>>;
}

macro_rules! suite {
    ($open:expr) => {
        $crate::conformance::suite!(@ $open, accounts:
            unknown_identity_has_no_user,
            known_identity_has_its_user_with_the_profile_as_stored,
            identity_of_another_policy_is_unknown,
            verified_email_owner_is_found_only_where_asked,
            unverified_email_has_no_owner,
            email_owner_of_another_policy_is_not_found,
            email_with_many_owners_shows_two,
            known_identity_needs_no_email_owner,
            changed_profile_is_stored,
            status_is_set_and_survives_reopening,
            status_of_unknown_user_is_not_set,
        );
        $crate::conformance::suite!(@ $open, population:
            population_of_nobody_is_empty,
            population_is_added_up_by_policy_and_survives_reopening,
            population_forgets_what_nobody_has_shown_for_a_year,
            concurrent_additions_lose_nothing,
        );
        $crate::conformance::suite!(@ $open, signins:
            existing_user_signs_in,
            existing_user_who_is_gone_is_changed,
            user_disabled_between_gather_and_commit_is_refused,
            locked_user_is_refused_and_signs_in_once_unlocked,
            new_user_is_created_with_identity_and_session,
            identity_taken_meanwhile_is_changed_and_creates_nobody,
            concurrent_creates_of_one_identity_make_one_user,
            one_subject_of_two_policies_is_two_users,
            token_is_used_once,
            what_is_used_alone_is_used_once,
            same_digest_with_another_expiry_is_another_token,
            concurrent_uses_of_one_token_sign_in_once,
            refused_sign_in_does_not_use_up_its_token,
            only_owner_of_email_is_linked,
            identity_taken_meanwhile_is_not_linked,
            email_with_second_owner_is_not_linked,
            email_that_is_no_longer_verified_is_not_linked,
            email_owned_by_another_user_is_not_linked,
            email_owner_of_another_policy_is_not_linked,
            disabled_email_owner_is_not_linked,
            link_that_is_no_longer_allowed_is_refused,
            concurrent_links_of_one_identity_link_once,
            committed_sign_in_survives_reopening,
            used_token_is_refused_after_reopening,
            each_committed_sign_in_leaves_one_event,
        );
        $crate::conformance::suite!(@ $open, histories:
            sign_in_that_learns_nothing_leaves_no_history,
            history_is_kept_from_the_first_sign_in_on,
            history_goes_with_every_kind_of_sign_in,
            history_of_who_has_not_come_for_a_year_is_swept,
            every_history_is_looked_at_in_the_end,
            history_of_two_owners_of_an_address_is_nobodys,
            refused_sign_in_leaves_history_unchanged,
            of_two_sign_ins_at_once_the_first_is_remembered,
            history_is_read_only_where_it_is_asked_for,
            history_and_hash_key_survive_reopening,
        );
        $crate::conformance::suite!(@ $open, challenges:
            challenge_is_read_as_it_was_opened,
            challenge_creates_a_new_user_without_a_profile,
            challenge_is_answered_once,
            expired_void_or_foreign_challenge_is_not_answered,
            used_token_opens_no_challenge,
            disabled_user_opens_and_completes_nothing,
            link_is_made_once_its_challenge_is_answered,
            abandoned_challenge_leaves_history_and_profile_unchanged,
            challenge_has_so_many_tries,
            tries_are_counted_over_challenges,
            a_thousand_tries_at_once_over_many_challenges_stay_in_bounds,
            success_takes_back_its_try_alone,
            what_is_pending_is_taken_once,
            codes_are_sent_with_a_wait_between_them,
            device_is_known_to_its_user_until_it_expires,
            the_oldest_device_makes_room_for_one_more,
            challenge_and_its_counters_survive_reopening,
            expired_challenge_and_device_are_swept,
        );
        $crate::conformance::suite!(@ $open, factors:
            factor_counts_once_it_is_confirmed,
            factor_of_another_or_too_late_is_not_confirmed,
            only_the_first_factor_brings_recovery_codes,
            user_has_a_bounded_number_of_factors,
            step_is_used_once,
            step_works_once_under_fifty_tries_at_once,
            recovery_code_is_used_once,
            wrong_proof_leaves_the_challenge_to_be_answered,
            first_factor_is_enrolled_with_a_challenge,
            second_factor_is_not_enrolled_with_a_challenge,
            credential_is_kept_as_its_use_left_it,
            the_last_factor_takes_the_recovery_codes_along,
            change_of_factors_forgets_devices,
            factor_that_was_never_confirmed_is_swept,
        );
        $crate::conformance::suite!(@ $open, passwords:
            user_without_a_password_has_none,
            first_password_is_set_in_a_session_that_makes_room_for_another,
            password_is_changed_only_from_the_one_that_was_verified,
            of_two_changes_at_once_one_is_made,
            session_that_is_over_changes_no_password,
            disabled_or_locked_user_changes_no_password,
            change_takes_back_sessions_devices_and_tries,
            administrator_sets_a_password_of_anybody,
            change_can_be_demanded_of_whoever_has_a_password,
            a_thousand_wrong_tries_at_once_stay_in_bounds,
            tries_are_forgiven_to_whoever_is_unlocked,
            unverified_account_loses_its_password_to_whoever_proves_the_address,
            verified_account_or_another_policys_keeps_its_password,
            refused_sign_in_takes_no_password,
            user_is_imported_once,
            imported_identity_signs_in,
            identity_of_another_is_not_imported,
            users_are_listed_page_by_page,
            users_are_found_by_name_and_address,
            password_survives_reopening,
        );
        $crate::conformance::suite!(@ $open, sessions:
            unknown_session_is_none,
            session_is_read_as_it_was_made,
            refresh_token_is_rotated,
            refresh_with_an_old_digest_is_changed,
            concurrent_rotations_of_one_token_rotate_once,
            rotation_remembers_at_most_the_bound,
            ended_session_is_not_rotated,
            expired_session_is_not_rotated,
            session_past_its_end_is_not_rotated,
            session_of_disabled_user_is_not_rotated,
            session_of_disabled_user_is_not_rotated_whatever_the_clocks_say,
            unknown_session_is_not_rotated,
            session_ends_once,
            revoked_sessions_are_not_rotated_and_later_ones_are,
            sign_in_in_the_second_of_a_revocation_is_valid,
            sessions_stay_over_when_a_user_is_active_again,
            revoking_spares_other_users,
            rotation_survives_reopening,
        );
        $crate::conformance::suite!(@ $open, listing:
            live_sessions_are_listed_the_newest_first,
            what_has_expired_or_was_revoked_is_not_listed,
            sessions_come_in_pages_that_leave_nothing_out,
            a_session_is_listed_with_its_last_use,
            a_revocation_leaves_an_event,
        );
        $crate::conformance::suite!(@ $open, logouts:
            logout_ends_what_it_names_and_nothing_else,
            logout_at_another_provider_ends_nothing,
            logout_token_is_used_once_under_fifty_at_once,
            logout_voids_what_waits_for_a_second_factor,
        );
        $crate::conformance::suite!(@ $open, refusals:
            refusals_that_were_counted_are_one_row,
            junk_beyond_the_bound_of_rows_drops_the_oldest_junk_and_nothing_accepted,
            junk_beyond_the_bound_of_bytes_drops_the_oldest_junk,
            refusals_of_before_the_start_count_against_the_bound,
            a_sweep_of_few_rows_goes_on_with_the_next,
        );
        $crate::conformance::suite!(@ $open, sweeping:
            nothing_is_swept_while_nothing_has_expired,
            expired_session_is_kept_for_a_day_and_swept_after,
            session_past_its_end_is_swept,
            expired_replay_row_is_swept_and_a_valid_one_is_kept,
            old_events_are_swept_and_young_ones_are_kept,
            sweep_deletes_no_more_than_asked,
            repeated_sweeps_find_every_expired_session,
            one_sweep_deletes_many_sessions,
            sweep_that_began_midway_finds_what_lies_before,
            recorded_event_is_written,
            probe_succeeds_while_the_store_can_be_written,
        );
    };
    (@ $open:expr, $module:ident: $($name:ident,)*) => {
        mod $module {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    $crate::conformance::$module::$name($open).await;
                }
            )*
        }
    };
}
pub(crate) use suite;
