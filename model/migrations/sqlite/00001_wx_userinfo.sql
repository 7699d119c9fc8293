-- AUTOINCREMENT: the id of a deleted user is never used again.
CREATE TABLE `wx_userinfo` (
  `id` integer NOT NULL PRIMARY KEY AUTOINCREMENT,
  `openid` varchar(64) NOT NULL COLLATE BINARY,
  `unionid` varchar(64) NOT NULL DEFAULT '' COLLATE BINARY,
  `nick_name` varchar(255) NOT NULL DEFAULT '',
  `avatar_url` varchar(512) NOT NULL DEFAULT '',
  `gender` varchar(16) NOT NULL DEFAULT '',
  `city` varchar(255) NOT NULL DEFAULT '',
  `province` varchar(255) NOT NULL DEFAULT '',
  `country` varchar(255) NOT NULL DEFAULT '',
  `language` varchar(16) NOT NULL DEFAULT '',
  `phone` varchar(255) NOT NULL DEFAULT '',
  `group` varchar(255) NOT NULL DEFAULT '',
  `rg` tinyint(1) NOT NULL DEFAULT 1,
  `only20` tinyint(1) NOT NULL DEFAULT 0,
  `vip` tinyint(1) NOT NULL DEFAULT 0,
  `capacity` int NOT NULL DEFAULT 5,
  `session_epoch` bigint NOT NULL,
  `last_login_at` datetime NOT NULL,
  `created_at` datetime NOT NULL,
  `updated_at` datetime NOT NULL
);

CREATE UNIQUE INDEX `uk_wx_userinfo_openid` ON `wx_userinfo` (`openid`);
