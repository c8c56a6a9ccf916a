//! What the kernel of every host should hold.
