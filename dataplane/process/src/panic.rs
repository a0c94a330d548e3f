//! A panic anywhere ends the process.

/// Half a process is worse than none: the supervisor starts a whole one after any panic.
pub fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}
