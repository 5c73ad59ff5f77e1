//! What a Nesos master decides, as a pure state machine.
