/// A number that nobody can guess, from the kernel.
pub fn unguessable() -> u128 {
    let mut bytes = [0; 16];
    // Err: the kernel has no such call, which is older than io_uring.
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    u128::from_ne_bytes(bytes)
}
