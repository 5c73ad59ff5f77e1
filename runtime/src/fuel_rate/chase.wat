;; A walk through one cycle over the 65,536 cache lines of 4 MiB: loads that miss the caches.
;; Line i points to line (25,173 i + 13,849) mod 65,536, which is one full cycle (Hull and Dobell, 1962).
(module
  (memory 64)
  (func $link
    (local $line i32)
    (loop $next
      (i32.store
        (i32.shl (local.get $line) (i32.const 6))
        (i32.shl
          (i32.and
            (i32.add (i32.mul (local.get $line) (i32.const 25173)) (i32.const 13849))
            (i32.const 65535))
          (i32.const 6)))
      (local.set $line (i32.add (local.get $line) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $line) (i32.const 65536)))))
  (start $link)
  (func (export "run") (param $rounds i32) (result i64)
    (local $at i32)
    (loop $next
      (local.set $at (i32.load (local.get $at)))
      (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
      (br_if $next (local.get $rounds)))
    (i64.extend_i32_u (local.get $at))))
