;; A guest of the replica's world that means no good: each export misbehaves in a way of its own.
;; Its memory is zero from 1024 on, and zero reads as the emptiest result of every call.
(module
  (import "wasi:random/random@0.2.0" "get-random-bytes" (func $random_bytes (param i64 i32)))
  (memory (export "memory") 1)

  ;; A bump allocator that asks for as many pages as it is told to need.
  (global $top (mut i32) (i32.const 2048))
  (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $place i32)
    (local.set $place (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
    (global.set $top (i32.add (local.get $place) (local.get 3)))
    (loop $more
      (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
        (then
          (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
          (br $more))))
    (local.get $place))

  ;; Starts as it should.
  (func (export "dayfly:replica/lifecycle@0.1.0#start") (param i32) (result i32) (i32.const 1024))

  ;; Takes all the memory that there is, and gives up when it gets no more.
  (func (export "dayfly:replica/lifecycle@0.1.0#wake") (param i64) (result i32)
    (loop $more
      (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable)

  ;; Never returns.
  (func (export "dayfly:replica/lifecycle@0.1.0#tick") (result i32)
    (loop $forever (br $forever))
    (i32.const 1024))

  ;; Traps.
  (func (export "dayfly:replica/lifecycle@0.1.0#suspend") (result i32) unreachable)

  ;; Asks the host for more random bytes than any machine has.
  (func (export "dayfly:replica/lifecycle@0.1.0#leave") (result i32)
    (call $random_bytes (i64.const 0x7fffffffffffffff) (i32.const 1024))
    (i32.const 1024))

  ;; Takes frames in, and forgets them.
  (func (export "dayfly:replica/inbox@0.1.0#receive") (param i32 i32) (result i32) (i32.const 1024))

  ;; Says that its answer stands outside its memory.
  (func (export "dayfly:replica/outbox@0.1.0#settle") (param i32 i32) (result i32) (i32.const -8))

  ;; Calls itself without end.
  (func $deep (param i32) (result i32) (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  (func (export "dayfly:replica/api@0.1.0#invoke")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $deep (i32.const 0)))

  ;; Returns a list of four billion parts.
  (func (export "dayfly:replica/checkpoint@0.1.0#save") (param i64) (result i32)
    (i32.store (i32.const 1536) (i32.const 0))
    (i32.store (i32.const 1544) (i32.const 1024))
    (i32.store (i32.const 1548) (i32.const -1))
    (i32.const 1536))

  ;; Refuses, with a message that is no UTF-8.
  (func (export "dayfly:replica/checkpoint@0.1.0#load") (param i32 i32) (result i32)
    (i32.store (i32.const 1600) (i32.const 1))
    (i32.store (i32.const 1608) (i32.const 1700))
    (i32.store (i32.const 1612) (i32.const 2))
    (i32.store (i32.const 1700) (i32.const 0xffff))
    (i32.const 1600))

  ;; Takes the log in, and forgets it.
  (func (export "dayfly:replica/checkpoint@0.1.0#replay") (param i32 i32 i32) (result i32) (i32.const 1024)))
