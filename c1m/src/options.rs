//! The options of a run, validated against each other and against the host before the first socket.
