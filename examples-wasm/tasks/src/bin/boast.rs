//! Reports as many bytes as its argument says, as progress, as a message and as its result, and prints what came of it.

use nesos_guest::Task;

#[nesos_guest::task]
fn main(task: Task) -> Result<(), String> {
    let bytes = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let data = vec![0; bytes.ok_or("how many bytes?")?];
    println!("{:?}", task.progress("", &data));
    println!("{:?}", task.send(&data));
    println!("{:?}", task.set_result(&data));
    Ok(())
}
