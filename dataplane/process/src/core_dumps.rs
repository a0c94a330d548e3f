//! A crash leaves no copy of the memory behind: it holds signing keys, and what people send.

/// Nothing is dumped from here on, neither into a file nor to a program that collects dumps, and no
/// other process of the same user may read this one's memory. Why not, where the system does not
/// take it.
pub fn turn_off() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, nothing)?;
    // A program that collects dumps is not held by the limit.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_turned_dumps_off_leaves_none() {
        use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
        super::turn_off().expect("the system takes it");
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        let behavior = dumpable_behavior().expect("the system says it");
        assert_eq!(behavior, DumpableBehavior::NotDumpable);
    }
}
