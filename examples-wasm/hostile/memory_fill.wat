;; Fills all of its memory, grown as far as the host lets it (1 GiB at most), over and over: each
;; fill is one instruction that a host cannot interrupt.
(module
  (memory (export "memory") 1 16384)
  (func (export "_start")
    (loop $grow
      (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (loop $again
      (memory.fill
        (i32.const 0)
        (i32.const 0xA5)
        (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1)))
      (br $again))))
