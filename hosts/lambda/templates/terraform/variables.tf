variable "name" {
  description = "What the function is called, and what the names of all else begin with."
  type        = string
  default     = "dayfly"
}

variable "broker_secret" {
  description = "Name or ARN of a secret in Secrets Manager whose text is the broker's URL, amqps://USER:PASSWORD@HOST/VHOST. It becomes an encrypted variable of the function: whoever may read the function's configuration can read it."
  type        = string
}

variable "cluster" {
  description = "The cluster's name. Clusters of different names share nothing, even on one broker."
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,64}$", var.cluster))
    error_message = "1 to 64 letters, digits, dots, underscores and hyphens."
  }
}

variable "linger" {
  description = "How long a replica stays awake after it has answered a request, which is paid for: seconds, or \"quiet\" for as long as there is something to exchange."
  type        = string
  default     = "quiet"
}

variable "auth_type" {
  description = "Who may use the function's URL: AWS_IAM, signed requests of those who are permitted lambda:InvokeFunctionUrl and lambda:InvokeFunction; NONE, everyone in the world, to read and to write."
  type        = string
  default     = "AWS_IAM"

  validation {
    condition     = contains(["AWS_IAM", "NONE"], var.auth_type)
    error_message = "AWS_IAM or NONE."
  }
}

variable "awake" {
  description = "How many replicas are woken every minute."
  type        = number
  default     = 2

  validation {
    condition     = var.awake >= 0 && var.awake <= 100
    error_message = "0 to 100."
  }
}

variable "wake_seconds" {
  description = "For how long each of them is awake, in seconds. Beyond 60 it overlaps the next, which takes over its state meanwhile."
  type        = number
  default     = 90

  validation {
    condition     = var.wake_seconds >= 1 && var.wake_seconds <= 170
    error_message = "1 to 170."
  }
}

variable "keep_awake" {
  description = "Whether the schedule runs. Not needed beside `dayfly keep`."
  type        = bool
  default     = true
}

variable "memory_mib" {
  description = "Memory, which is paid for by the time, and with which the share of a processor grows. Three times store_mib, and 64."
  type        = number
  default     = 256
}

variable "store_mib" {
  description = "How large the database may become, in MiB."
  type        = number
  default     = 64
}

variable "concurrency" {
  description = "The most environments that may run at once, which bounds the cost; -1 sets no bound. Twice the number of replicas kept awake, and what requests need. An account whose own bound is 10 cannot set one."
  type        = number
  default     = -1
}

variable "architecture" {
  description = "The processor: x86_64, or arm64 with the zip of `cargo xtask package lambda --arm64`."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "x86_64 or arm64."
  }
}

variable "zip" {
  description = "The zip, where it is not where `cargo xtask package lambda` leaves it."
  type        = string
  default     = null
}
