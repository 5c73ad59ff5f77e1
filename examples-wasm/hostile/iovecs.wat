;; Writes to standard output with eight million vectors of no bytes each, over and over: what a host
;; allocates for each vector is the guest's to choose. Traps once it is refused.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1025)
  (func (export "_start")
    (loop $again
      (if (i32.eqz (call $fd_write (i32.const 1) (i32.const 65536) (i32.const 8000000) (i32.const 0)))
        (then (br $again))))
    unreachable))
