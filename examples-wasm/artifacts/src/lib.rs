//! Builds the example guests and says where they are.
