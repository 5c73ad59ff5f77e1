//! What a Nesos agent decides, as a pure state machine.
