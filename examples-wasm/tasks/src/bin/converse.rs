//! Answers each message of its scheduler with the same in capitals, until it is told to stop; its result is
//! how many there were.

use nesos_guest::{MessageError, Task};

#[nesos_guest::task]
fn main(task: Task) -> Result<String, MessageError> {
    let mut count = 0;
    while let Some(message) = task.wait_for_message() {
        task.send(&message.to_ascii_uppercase())?;
        count += 1;
    }
    Ok(format!("{count} messages"))
}
