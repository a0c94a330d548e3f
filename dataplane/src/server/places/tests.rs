use std::time::Duration;

use super::*;

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

struct Open {
    progress: Arc<Progress>,
    admission: Admission,
}

fn open(places: &Arc<Places>, peer: IpAddr) -> Open {
    let progress = Progress::new(Instant::now());
    let admission = places.take(peer, &progress);
    Open {
        progress,
        admission,
    }
}

impl Open {
    fn is_served(&self) -> bool {
        matches!(self.admission, Admission::Served(_))
    }

    fn has_displaced(&self) -> bool {
        matches!(self.admission, Admission::Displaced(_))
    }
}

async fn a_moment() {
    tokio::time::advance(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn one_address_may_hold_many_while_there_is_room() {
    let places = Places::new(100);
    let gateway: Vec<Open> = (0..75).map(|_| open(&places, address(1))).collect();
    assert!(gateway.iter().all(Open::is_served));
}

#[tokio::test(start_paused = true)]
async fn silent_sockets_of_one_address_leave_places_for_others() {
    let places = Places::new(100);
    let silent: Vec<Open> = (0..200).map(|_| open(&places, address(1))).collect();
    let served = silent.iter().filter(|open| open.is_served()).count();
    assert_eq!(served, 75 + 12, "three quarters, and its share of the last");
    let others: Vec<Open> = (2..15).map(|last| open(&places, address(last))).collect();
    assert!(others.iter().all(Open::is_served));
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_takes_the_place_of_the_one_that_was_silent_the_longest() {
    let places = Places::new(4);
    let mut silent = Vec::new();
    for last in 0..4 {
        silent.push(open(&places, address(last)));
        a_moment().await;
    }
    let new = open(&places, address(9));
    assert!(new.has_displaced());
    let ended: Vec<bool> = silent
        .iter()
        .map(|open| open.progress.is_to_end())
        .collect();
    assert_eq!(ended, [true, false, false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_worked_for_keeps_its_place() {
    let places = Places::new(2);
    let busy = [open(&places, address(1)), open(&places, address(2))];
    let turns: Vec<_> = busy.iter().map(|open| open.progress.begin()).collect();
    let refused = open(&places, address(3));
    assert!(matches!(refused.admission, Admission::Refused));
    drop(turns);
    a_moment().await;
    assert!(open(&places, address(3)).has_displaced());
    assert!(busy.iter().any(|open| open.progress.is_to_part()));
    assert!(
        !busy.iter().any(|open| open.progress.is_to_end()),
        "it is told to go"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stalled_connection_goes_before_an_idle_one() {
    let places = Places::new(2);
    let (idle, stalled) = (open(&places, address(1)), open(&places, address(2)));
    drop(idle.progress.begin());
    a_moment().await;
    let _answer = stalled.progress.begin().answered();
    a_moment().await;
    let _new = open(&places, address(3));
    assert!(stalled.progress.is_to_end() && !idle.progress.is_to_part());
}

#[tokio::test(start_paused = true)]
async fn one_ipv6_host_is_one_network_and_a_mapped_address_is_an_ipv4_one() {
    let network = |text: &str| Network::of(text.parse().expect("an address"));
    assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
    assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_again_once_its_connection_is_gone() {
    let places = Places::new(4);
    drop(
        (0..4)
            .map(|_| open(&places, address(1)))
            .collect::<Vec<_>>(),
    );
    let state = places.lock();
    assert!(state.open.is_empty() && state.networks.is_empty());
}
