//! starts
